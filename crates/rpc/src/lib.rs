//! Every interface between server and agents, one file each, both sides
