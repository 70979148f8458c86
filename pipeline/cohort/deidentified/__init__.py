"""The de-identified copy of the scans: DICOM by the Basic Application Level Confidentiality Profile (PS3.15 E)."""
