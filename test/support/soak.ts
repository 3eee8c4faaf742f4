/**
 * How long the whole-cluster tests run: a short form by default, any length when `npm run soak` sets these variables (see
 * scripts/soak.mjs).
 */
const { SOAK_ROUNDS, SOAK_SECONDS, SOAK_FACTOR, SOAK_IDLE_SECONDS, SOAK_LOAD_SECONDS, SOAK_LEADER_DEATHS } =
  process.env;
const soaking = [SOAK_ROUNDS, SOAK_SECONDS, SOAK_FACTOR, SOAK_LOAD_SECONDS].some((value) => value !== undefined);

export const soak = {
  /** Rounds of kills, unless `seconds` says otherwise. */
  rounds: SOAK_SECONDS === undefined ? Number(SOAK_ROUNDS ?? 6) : Number.POSITIVE_INFINITY,
  /** Of leaders only. */
  leaderDeaths: Number(SOAK_LEADER_DEATHS ?? 3),
  seconds: Number(SOAK_SECONDS ?? Number.POSITIVE_INFINITY),
  /** What numbers of operations, commits and faults are multiplied by. */
  factor: Number(SOAK_FACTOR ?? 1),
  /** Full load, at least. */
  loadSeconds: Number(SOAK_LOAD_SECONDS ?? 0),
  idleSeconds: Number(SOAK_IDLE_SECONDS ?? 6),
  /** Bound of one test. */
  timeoutMs: soaking ? 24 * 3_600_000 : 180_000,
  /** Progress, for those who watch. */
  log: soaking ? (text: string) => console.log(text) : () => {},
};
