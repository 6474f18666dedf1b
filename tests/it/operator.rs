//! The operator against a real API server.

mod access;
mod children;
mod collections;
mod definitions;
mod edges;
mod ended;
mod in_force;
mod leaders;
mod recorded;
mod refused;
mod restarts;
mod rights;
mod rolling;
mod serving;
