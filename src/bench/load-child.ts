/** The load generator's process: gets its options as one message, answers with the result, and ends. */
import { type LoadOptions, runLoad } from './load.js';

process.once('message', (options: LoadOptions) => {
  runLoad(options).then(
    (result) => process.send?.({ result }, () => process.exit(0)),
    (error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      process.send?.({ error: message }, () => process.exit(1));
    },
  );
});
process.on('disconnect', () => process.exit(1));
