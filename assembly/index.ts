/** What the host may call, and the addresses that it needs. */

// ---- storage
export { ARGS_BASE, STAGE_BASE, STAGE_SIZE } from './layout';
export { init } from './init';
export {
  apply,
  applied,
  earliestDeadline,
  logTime,
  nothingStaged,
  run,
  setOrigin,
  stageRecord,
  stageRoom,
  stats,
} from './apply';
export { crc32c } from './crc';
export { loadBegin, loadChunk, loadEnd } from './load';
export {
  SNAPSHOT_DONE,
  SNAPSHOT_WINDOW,
  snapshotBegin,
  snapshotCopy,
  snapshotEnd,
  snapshotPick,
} from './snapshot';

// ---- front
export { CONN_BASE, SCAN_BASE, TEXT_BASE, TEXT_SIZE } from './layout';
export { connClose, connOpen, connPause, connRelease } from './conn';
export {
  applyStaged,
  CONN_ALIVE,
  CONN_ALIVE_MASK,
  dumpNext,
  dumpRecord,
  frontInit,
  frontStats,
  gathered,
  giveUp,
  giveUpOpen,
  giveUpReads,
  openBytes,
  openCommands,
  ready,
  runBatch,
  seal,
  systemValue,
} from './host';
export { ingest, staged, stagedFin, stagingMost, stagingRoom } from './ingest';
export { outputNext } from './output';
export { evalReads, sealReads } from './reads';
export { txnExpire } from './txn';
