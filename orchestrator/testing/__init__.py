"""The doubles, shipped: a virtual-time loop, fault plans and the simulator."""
