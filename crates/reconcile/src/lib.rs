//! Read, plan, apply: the small generic library every agent is built on
