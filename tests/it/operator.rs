//! The operator against a real API server.

mod children;
mod refused;
