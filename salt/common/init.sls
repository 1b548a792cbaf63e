# What every host of the class has: trust, basic packages, names of the other hosts.
include:
  - common.trust
  - common.packages
  - common.hosts
