//! Runs the contract of all stores on each of them.

mod broken;
mod examples;
mod stores;
mod zip_store;
