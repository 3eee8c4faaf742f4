/**
 * Imported into a node process by a test (`node --import`), to measure what JavaScript heap the process allocates. The node
 * is started with a young generation so large that nothing is collected while a test measures, so that the growth of the
 * used heap is all that was allocated; the number of collections says whether that held.
 */
import { PerformanceObserver } from 'node:perf_hooks';

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });

process.on('message', (request) => {
  if (request !== 'heap') return;
  process.send?.({ heapUsed: process.memoryUsage().heapUsed, collections });
});
process.channel?.unref();
