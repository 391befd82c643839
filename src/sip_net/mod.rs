//! SIP transports on the control core: UDP and TCP.
