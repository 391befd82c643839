//! SIPREC (RFC 7866) and its metadata (RFC 7865).
