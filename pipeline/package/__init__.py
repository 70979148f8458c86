"""ModelPackage: weights, plan, findings, calibration, operating points, digests and card in one folder."""
