//! The operator against a real API server.

mod access;
mod changes;
mod children;
mod collections;
mod definitions;
mod edges;
mod ended;
mod fields;
mod in_force;
mod leaders;
mod recorded;
mod recorded_rest;
mod refused;
mod restarts;
mod rights;
mod rolling;
mod serving;
mod unready;
mod volumes;
