"""`miractl` as people run it: a process of its own, against an engine in this one."""
