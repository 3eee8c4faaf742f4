/**
 * Numbers of the constant messages: the order of `messageNames` in src/protocol/commands.ts, whose texts arrive in the
 * text blob (text.ts). A test compares both.
 */
export const MSG_OK: u32 = 0;
export const MSG_NIL: u32 = 1;
export const MSG_PONG: u32 = 2;
export const MSG_EMPTY_LINE: u32 = 3;
export const MSG_UNKNOWN_COMMAND: u32 = 4;
export const MSG_UNTERMINATED_QUOTE: u32 = 5;
export const MSG_AFTER_QUOTE: u32 = 6;
export const MSG_BAD_ESCAPE: u32 = 7;
export const MSG_CUT_LINE: u32 = 8;
export const MSG_KEY_TOO_LONG: u32 = 9;
export const MSG_VALUE_TOO_LONG: u32 = 10;
export const MSG_LINE_TOO_LONG: u32 = 11;
export const MSG_REPLY_TOO_LONG: u32 = 12;
export const MSG_TRANSACTION_TOO_LARGE: u32 = 13;
export const MSG_SET_OPTION: u32 = 14;
export const MSG_SET_TIME: u32 = 15;
export const MSG_GET_OPTION: u32 = 16;
export const MSG_BY_NOT_INTEGER: u32 = 17;
export const MSG_KEYS_LIMIT: u32 = 18;
export const MSG_NOT_INTEGER: u32 = 19;
export const MSG_OVERFLOW: u32 = 20;
export const MSG_NO_TRANSACTION: u32 = 21;
export const MSG_IN_TRANSACTION: u32 = 22;
export const MSG_NOT_IN_TRANSACTION: u32 = 23;
export const MSG_CONFLICT: u32 = 24;
export const MSG_TRANSACTION_EXPIRED: u32 = 25;
export const MSG_OUT_OF_MEMORY: u32 = 26;
export const MSG_NO_LEADER: u32 = 27;
export const MSG_READ_TIMEOUT: u32 = 28;
export const MSG_WRITE_TIMEOUT: u32 = 29;
export const MSG_STOPPING: u32 = 30;
export const MSG_STALE_REPLY: u32 = 31;
export const MSG_STOPPING_UNKNOWN: u32 = 32;
export const MSG_READ_LOST: u32 = 33;
export const MSG_WRITE_LOST: u32 = 34;
export const MSG_DISK_FULL: u32 = 35;

/** Codes of the commands, as in the table of src/protocol/commands.ts. */
export const CMD_PING: u32 = 1;
export const CMD_SET: u32 = 2;
export const CMD_GET: u32 = 3;
export const CMD_DEL: u32 = 4;
export const CMD_EXISTS: u32 = 5;
export const CMD_MGET: u32 = 6;
export const CMD_INCR: u32 = 7;
export const CMD_CAS: u32 = 8;
export const CMD_KEYS: u32 = 9;
export const CMD_COUNT: u32 = 10;
export const CMD_BEGIN: u32 = 11;
export const CMD_COMMIT: u32 = 12;
export const CMD_ROLLBACK: u32 = 13;
export const CMD_STATUS: u32 = 14;
export const CMD_MEMBERS: u32 = 15;
export const CMD_HELP: u32 = 16;
export const CMD_QUIT: u32 = 17;
export const CMD_TTL: u32 = 18;
export const CMD_PTTL: u32 = 19;
export const CMD_PERSIST: u32 = 20;
