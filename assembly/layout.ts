/**
 * The address map: where everything lives in linear memory.
 *
 * All state of the kernel is in memory at fixed addresses, never in Wasm globals (those are per instance, and other
 * threads will open this memory with instances of their own). A region costs address space only: a page that nobody has
 * written takes no physical memory, so regions are as large as their contents can ever be.
 *
 *     address     bytes       region
 *     0x00000000  0x00010000  NULL      never used: address 0 and page 0 mean "none"
 *     0x00010000  0x00010000  STATE     words of the storage half, a kibibyte or more for each file
 *     0x00020000  0x00010000  ARGS      parameters and small results of host calls
 *     0x00030000  0x00010000  CRC       tables of CRC32C
 *     0x00040000  0x00020000  SCRATCH   the window of operations that is being applied
 *     0x00060000  0x00008000  SCAN      addresses of records found by a scan
 *     0x00068000  0x00008000  READERS   announcements of reading threads, a cache line each
 *     0x00070000  0x00010000  FRONT     fixed state of the front half
 *     0x00080000  0x00040000  TEXT      command table and messages
 *     0x000c0000  0x00040000  SNAPSHOT  records found for a snapshot, and the window that its bytes go through
 *     0x00100000  0x00100000  PAGES     page map of the heap
 *     0x00200000  0x00400000  PINS      pinned revisions
 *     0x00600000  0x00800000  CONN      connection records
 *     0x00e00000  0x00400000  STAGING   bytes fed by clients
 *     0x01200000  0x03000000  ENTRY     the open entry: room for a header, then the payload
 *     0x04200000  0x02000000  STAGE     committed records that wait for apply
 *     0x06200000              HEAP      pages of blocks, tables and buffers, to the end of memory
 */

export const STATE_BASE: u32 = 0x00010000;
export const STATE_SIZE: u32 = 0x00010000;
export const ARGS_BASE: u32 = 0x00020000;
export const ARGS_SIZE: u32 = 0x00010000;
export const CRC_BASE: u32 = 0x00030000;
export const CRC_SIZE: u32 = 0x00010000;
export const SCRATCH_BASE: u32 = 0x00040000;
export const SCRATCH_SIZE: u32 = 0x00020000;
export const SCAN_BASE: u32 = 0x00060000;
export const SCAN_SIZE: u32 = 0x00008000;
export const READERS_BASE: u32 = 0x00068000;
export const READERS_SIZE: u32 = 0x00008000;
export const FRONT_BASE: u32 = 0x00070000;
export const FRONT_SIZE: u32 = 0x00010000;
export const TEXT_BASE: u32 = 0x00080000;
export const TEXT_SIZE: u32 = 0x00040000;
export const SNAPSHOT_BASE: u32 = 0x000c0000;
export const SNAPSHOT_SIZE: u32 = 0x00040000;
export const PAGES_BASE: u32 = 0x00100000;
export const PAGES_SIZE: u32 = 0x00100000;
export const PINS_BASE: u32 = 0x00200000;
export const PINS_SIZE: u32 = 0x00400000;
export const CONN_BASE: u32 = 0x00600000;
export const CONN_SIZE: u32 = 0x00800000;
export const STAGING_BASE: u32 = 0x00e00000;
export const STAGING_SIZE: u32 = 0x00400000;
export const ENTRY_BASE: u32 = 0x01200000;
export const ENTRY_SIZE: u32 = 0x03000000;
export const STAGE_BASE: u32 = 0x04200000;
export const STAGE_SIZE: u32 = 0x02000000;
export const HEAP_BASE: u32 = 0x06200000;

/** The files' parts of STATE. */
export const PAGES_STATE: u32 = 0x00010000;
export const ALLOC_STATE: u32 = 0x00010400;
export const HASH_STATE: u32 = 0x00010800;
export const TABLE_STATE: u32 = 0x00010c00;
export const READERS_STATE: u32 = 0x00011000;
export const PINS_STATE: u32 = 0x00011400;
export const VERSION_STATE: u32 = 0x00011800;
export const VALIDATE_STATE: u32 = 0x00011c00;
export const OPERATE_STATE: u32 = 0x00012000;
export const COMMIT_STATE: u32 = 0x00012400;
export const APPLY_STATE: u32 = 0x00012800;
export const STATS_STATE: u32 = 0x00012c00;
export const SNAPSHOT_STATE: u32 = 0x00013000;
export const LOAD_STATE: u32 = 0x00013400;
export const COMPACT_STATE: u32 = 0x00013800;
export const EXPIRY_STATE: u32 = 0x00013c00;
export const SESSION_STATE: u32 = 0x00014000;
