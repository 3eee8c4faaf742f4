#!/usr/bin/env node
/**
 * The program `distributed`.
 *
 * Concept: program.ts is the command line; each command is a file: node.ts (a node), up.ts with supervisor.ts (a cluster on
 * this machine), cli.ts (terminal.ts or pipe.ts over session.ts), status.ts; benchmarks are in src/bench.
 *
 * Invariants: results go to stdout, everything else to stderr. An error is one line, never a stack trace. Exit codes: 0, 1
 * for an error, 2 for a wrong use. Every command ends by itself; what it leaves open is ended here.
 */
import { run } from './program.js';
import { ignoreClosedOutputs } from './report.js';

ignoreClosedOutputs();
process.exit(await run(process.argv));
