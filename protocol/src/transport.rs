//! Frames over sockets: the one module that names tokio.
