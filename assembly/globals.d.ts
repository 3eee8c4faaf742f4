/** Set by the build (asconfig.json): 1 puts canaries round blocks. */
declare const CHECKS: i32;
