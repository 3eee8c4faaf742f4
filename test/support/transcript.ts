/** The transcript that the README shows: commands and replies, byte for byte. */
export const transcript: readonly (readonly [string, string])[] = [
  ['SET mykey myvalue', 'OK'],
  ['GET mykey', '"myvalue"'],
  ['BEGIN', 'OK'],
  ['SET key1 value1', 'OK'],
  ['SET key2 value2', 'OK'],
  ['COMMIT', 'OK'],
];
