# What every host of the class has: trust and basic packages.
include:
  - common.trust
  - common.packages
