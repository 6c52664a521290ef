//! The platform abstraction of Stockade.
