//! For tests: a local origin with scripted faults and registries of any size; code follows.
