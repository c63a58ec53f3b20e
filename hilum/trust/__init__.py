"""How far an answer can be believed: calibration, conformal sets, uncertainty, outliers, quality, the gate."""
