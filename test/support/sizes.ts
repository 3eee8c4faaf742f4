/** How much a test goes through: all of it in the full run, less in the quick one, which serves for every commit. */
export function sized(full: number, quick: number): number {
  return process.env.TEST_SIZES === 'quick' ? quick : full;
}
