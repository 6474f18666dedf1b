//! The operator against a real API server.

mod access;
mod children;
mod collections;
mod edges;
mod ended;
mod leaders;
mod refused;
mod restarts;
mod rights;
mod rolling;
