//! Maintainer commands; `tidy`, `bench` and `synth` get their code with the work that needs them.
fn main() {}
