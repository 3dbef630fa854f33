//! A TCP proxy between a sink and its server that can be told to cut, to stall and to refuse.
