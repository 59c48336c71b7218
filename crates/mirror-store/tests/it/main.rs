//! The stores, held against the contract of all stores.

mod broken;
mod examples;
mod stores;
mod zip_store;
