"""How good it is and how sure we are: metrics, intervals, calibration, operating points, subgroups, plots."""
