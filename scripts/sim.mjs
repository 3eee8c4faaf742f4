/** `npm run sim`: see src/sim/run/main.ts. */
import { main } from '../dist/sim/run/main.js';

process.exitCode = await main(process.argv.slice(2), (line) => process.stdout.write(`${line}\n`));
