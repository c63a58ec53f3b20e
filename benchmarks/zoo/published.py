"""Published figures of the networks, as their authors print them. Only what was read: in code, or in a paper."""

_SIX = "BTCV / ACDC / LiTS / BraTS / KiTS / AMOS, five folds"
_TABLE = (
    ("fcn 32s / 16s / 8s", "VOC 2011 val", "mIoU 63.6 / 65.0 / 65.5", "shelhamer/fcn.berkeleyvision.org", "code"),
    ("ccnet", "Cityscapes, one scale", "mIoU 79.74 validation, 79.01 test", "speedinghzl/CCNet", "code"),
    ("denseaspp 161", "Cityscapes val", "mIoU 79.9, many scales 80.6", "DeepMotionAIResearch/DenseASPP", "code"),
    ("r2unet", "STARE", "AUC 0.9914, F1 0.8475", "Alom 2018", "paper"),
    ("r2unet", "CHASE", "AUC 0.9815, F1 0.7928", "Alom 2018", "paper"),
    ("unetpp", "mean of four sets", "IoU 3.9 points over U-Net, 3.4 over a wide U-Net", "Zhou 2018", "paper"),
    ("unet3plus", "LiTS, liver", "Dice 0.9580; deep supervision and guidance 0.9675", "Huang 2020", "paper"),
    ("transunet", "Synapse, 12 cases", "Dice 77.48, HD95 31.69 (voxels)", "Chen 2021", "paper"),
    ("transunet", "Synapse, 12 cases", "Dice 75.84, standard deviation over cases 6.77", "Sun 2024", "paper"),
    ("da_transunet", "Synapse, 12 cases", "Dice 79.80, HD95 23.48 (voxels)", "Sun 2024", "paper"),
    ("da_transunet", "CVC-ClinicDB / Kvasir-SEG / ISIC 2018", "Dice 0.8947 / 0.8847 / 0.8888", "Sun 2024", "paper"),
    ("swin_unet", "Synapse, 12 cases", "Dice 79.13, HD95 21.55 (voxels)", "Cao 2021", "paper"),
    ("cunet", "BraTS 2019, split and scoring not published", "Dice 82.41 %", "Zhang 2024", "paper"),
    ("transunet3d", "BTCV", "Dice 88.11 %", "Beckschen/3D-TransUNet", "code"),
    ("transunet3d", "many organs / pancreatic tumours", "Dice 1.06 / 4.30 over nnU-Net", "Chen 2024", "paper"),
    ("nnunet", _SIX, "Dice 83.08 / 91.54 / 80.09 / 91.24 / 86.04 / 88.64", "MIC-DKFZ/nnUNet", "code"),
    ("nnunet, residual L", _SIX, "Dice 83.35 / 91.69 / 81.60 / 91.13 / 88.17 / 89.41", "MIC-DKFZ/nnUNet", "code"),
)
FIGURES = tuple(dict(zip(("network", "data", "figure", "source", "evidence"), row, strict=True)) for row in _TABLE)
