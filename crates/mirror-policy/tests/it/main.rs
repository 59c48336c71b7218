//! Tests of the policy by way of its public items.

mod advisories;
mod digest;
mod example;
mod model;
mod parser;
mod rules;
mod setup;
mod waivers;
