//! SIP without I/O: messages, framing, transactions, dialogs (RFC 3261, 6026).
