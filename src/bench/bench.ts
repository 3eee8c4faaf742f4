/**
 * The benchmarks that users run: `distributed bench store` (the two stores and a bare map on the same bytes, store.ts) and
 * `distributed bench cluster` (closed-loop clients against a cluster, and a bare Node server beside it, cluster.ts).
 *
 * Rules that both keep: what is compared is measured in turn, so that a disturbance falls on both; data is made before the
 * clock starts; results are checked before they are timed; and every report says what machine it is from.
 */
export {
  type BenchClusterOptions,
  benchCluster,
  type ClusterReport,
  type ClusterRun,
  formatClusterReport,
} from './cluster.js';
export {
  type BenchOperation,
  type BenchStoreOptions,
  benchOperations,
  benchStore,
  formatStoreReport,
  type StoreReport,
  type StoreRow,
} from './store.js';
