/**
 * Imported into a node process by a test (`node --import`), to measure what JavaScript heap the process allocates: V8's
 * sampling heap profiler, which also counts what has been collected since. `start` and `stop` come over the process channel;
 * the answer to `stop` is the bytes allocated in between, and where most of them were.
 */
import { Session } from 'node:inspector';

const SAMPLING_INTERVAL_BYTES = 16_384;
const session = new Session();
session.connect();

/** Adds up the tree; `places` gets the bytes by function. */
function total(node, places) {
  const { functionName, url, lineNumber } = node.callFrame;
  const place = `${functionName || '(anonymous)'} ${url.split('/').slice(-2).join('/')}:${lineNumber + 1}`;
  places.set(place, (places.get(place) ?? 0) + node.selfSize);
  return node.children.reduce((sum, child) => sum + total(child, places), node.selfSize);
}

process.on('message', (request) => {
  if (request === 'start') {
    session.post('HeapProfiler.startSampling', {
      samplingInterval: SAMPLING_INTERVAL_BYTES,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
    process.send?.({ started: true });
  } else if (request === 'stop') {
    session.post('HeapProfiler.stopSampling', (error, result) => {
      if (error) throw error;
      const places = new Map();
      const bytes = total(result.profile.head, places);
      const most = [...places].sort((a, b) => b[1] - a[1]).slice(0, 25);
      process.send?.({ bytes, most });
    });
  }
});
process.channel?.unref();
