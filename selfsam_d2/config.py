"""Every configuration key of this package, with its meaning, unit and the paper's symbol."""

from __future__ import annotations

from detectron2.config import CfgNode as CN

__all__ = ["VERSION", "add_selfsam_config"]

# Of the keys below, raised with an upgrade for each change that an earlier file would not survive:
# selfsam_d2/engine/config_versions.py.
VERSION = 8


def add_selfsam_config(cfg: CN) -> None:
    """Add the keys of SelfSAM to a Detectron2 config, in place.

    The defaults are the paper's (Nam & Park, Diagnostics 2026). No key of Detectron2 is changed:
    what a training needs beyond that stands in ``configs/Base-SelfSAM.yaml``.

    Args:
        cfg: a config as ``detectron2.config.get_cfg()`` returns it.
    """
    cfg.SELFSAM = CN()
    cfg.SELFSAM.VERSION = VERSION  # of the keys; the key VERSION is Detectron2's
    _add_encoder_keys(cfg)
    _add_head_keys(cfg)
    _add_label_keys(cfg)
    _add_refine_keys(cfg)
    _add_input_keys(cfg)
    _add_output_keys(cfg)
    _add_solver_keys(cfg)


def _add_encoder_keys(cfg: CN) -> None:
    # SAM's parts. ENCODER: vit_t (MobileSAM's TinyViT-5M) | vit_b | vit_l | vit_h. INPUT_SIDE: S,
    # side in px of the square that a crop is resized to for the encoder, a multiple of 64; also
    # for other backbones and heads of Detectron2, which see all images at the scale S / CROP.
    cfg.MODEL.SAM = CN()
    cfg.MODEL.SAM.ENCODER = "vit_t"
    cfg.MODEL.SAM.INPUT_SIDE = 1024
    # Less memory in training, more time: blocks are computed again in the backward pass.
    cfg.MODEL.SAM.CHECKPOINT_BLOCKS = False

    # Adapters (SAM-Adapter, Chen et al. 2023). REDUCTION: r = dim / REDUCTION.
    cfg.MODEL.ADAPTER = CN()
    cfg.MODEL.ADAPTER.ENABLED = True
    cfg.MODEL.ADAPTER.REDUCTION = 32
    # Zero-initialised up-projection: step 0 equals SAM exactly.
    cfg.MODEL.ADAPTER.ZERO_INIT = True
    # Share of the centred spectrum that the high-pass image leaves out, in [0, 1].
    cfg.MODEL.ADAPTER.HIGH_PASS_SHARE = 0.25
    # Not in the paper: each block's adapter also reads the block's own input (Linear dim -> r).
    cfg.MODEL.ADAPTER.READ_FEATURES = False

    # Size of build_vitdet_backbone, Detectron2's ViT without SAM.
    cfg.MODEL.VITDET = CN()
    cfg.MODEL.VITDET.EMBED_DIM = 192
    cfg.MODEL.VITDET.DEPTH = 8
    cfg.MODEL.VITDET.NUM_HEADS = 3
    cfg.MODEL.VITDET.WINDOW = 14  # tokens, side of the attention windows
    cfg.MODEL.VITDET.GLOBAL_BLOCKS = (3, 7)  # the blocks that attend globally
    cfg.MODEL.VITDET.DROP_PATH = 0.0


def _add_head_keys(cfg: CN) -> None:
    # Phi_nuclei, the prompt-free decoder, and g_omega with z+ (contrast).
    cfg.MODEL.NUCLEI_HEAD = CN()
    cfg.MODEL.NUCLEI_HEAD.NAME = "SAMNucleiHead"  # | ConvNucleiHead
    # ConvNucleiHead only: maps of the backbone that it reads (empty: all), channels between its
    # convolutions (a multiple of 32 for GN) and what normalises them.
    cfg.MODEL.NUCLEI_HEAD.IN_FEATURES = ()
    cfg.MODEL.NUCLEI_HEAD.CONV_DIM = 128
    cfg.MODEL.NUCLEI_HEAD.NORM = "GN"
    cfg.MODEL.CONTRAST = CN()
    cfg.MODEL.CONTRAST.DIM = 128  # d
    cfg.MODEL.CONTRAST.TEMPERATURE = 0.1  # tau
    cfg.MODEL.CONTRAST.NUM_NEGATIVES = 100  # hard background pixels per image, at most
    cfg.MODEL.CONTRAST.FOREGROUND_THRESHOLD = 0.7  # B above it on background is "hard"

    # Weights of the four losses; a weight of 0 switches the term off. Losses that the method of
    # PSEUDO_LABEL.NAME lacks are off whatever stands here.
    cfg.MODEL.LOSS = CN()
    cfg.MODEL.LOSS.PROMPT_WEIGHT = 1.0  # L_P
    cfg.MODEL.LOSS.FOREGROUND_WEIGHT = 1.0  # L_B
    cfg.MODEL.LOSS.DISTANCE_WEIGHT = 5.0  # L_D
    cfg.MODEL.LOSS.CONTRAST_WEIGHT = 1.0  # L_C
    # True: the literal form of L_P, in which a nucleus without a labelled pixel still counts in
    # the sum and in K. False leaves it out of both.
    cfg.MODEL.LOSS.KEEP_EMPTY_PROMPTS = True


def _add_label_keys(cfg: CN) -> None:
    # Prompts given to SAM's prompt encoder.
    cfg.PROMPT = CN()
    cfg.PROMPT.NUM_NEGATIVES = 0  # other points as negative prompts, 0 to 4
    cfg.PROMPT.NEGATIVE_CHOICE = "nearest"  # nearest | random
    # Box prompt made of points only: half side SPACING_SCALE * min(n_k, median n).
    cfg.PROMPT.SPACING_BOX = False
    cfg.PROMPT.SPACING_SCALE = 0.55
    cfg.PROMPT.DEFAULT_RADIUS = 12.0  # px, half side of the box of a point that is alone
    cfg.PROMPT.MASK_TOKEN = 0  # 0: SAM's single-mask token; 1, 2, 3: its multi-mask tokens
    # MB that the masks of a batch may hold for the backward pass, in each process. Those of the
    # points beyond are computed again there: the same gradients in more time.
    cfg.PROMPT.DECODER_MEMORY = 400

    # Pseudo labels S_P and S_I.
    cfg.PSEUDO_LABEL = CN()
    # What makes labels of points: SelfRefiningLabels (the paper) | StaticSAMLabels (InstaSAM: no
    # L_C; CONSENSUS and SELF_REFINE.ALPHA_SCHEDULE are ignored) | VoronoiClusterLabels (Voronoi
    # cells and k-means, Qu et al. 2019: no mask of SAM, no L_P, no L_C, no other key from here).
    cfg.PSEUDO_LABEL.NAME = "SelfRefiningLabels"
    cfg.PSEUDO_LABEL.ENTROPY_THRESHOLD = 0.3  # H(j) above it is uncertain (nats)
    cfg.PSEUDO_LABEL.ENTROPY_REDUCTION = "sum"  # over instances: sum | max
    cfg.PSEUDO_LABEL.MASK_THRESHOLD = 0.5  # m_u,k(j) above it is nucleus k; B above it: nucleus
    cfg.PSEUDO_LABEL.AGREE_FOREGROUND = 0.7  # A_fg: B above it
    cfg.PSEUDO_LABEL.AGREE_BACKGROUND = 0.3  # A_bg: B below it
    cfg.PSEUDO_LABEL.AGREE_BACKGROUND_MASK = 0.2  # A_bg: max m_u below it
    # Consensus with the nuclei decoder; off: S_I is S_P (InstaSAM).
    cfg.PSEUDO_LABEL.CONSENSUS = True
    # First epoch in which the consensus acts; S_I is S_P before. The paper: 0. A decoder that knows
    # nothing yet agrees by chance, and what it disagrees with is ignored: it can settle there.
    cfg.PSEUDO_LABEL.CONSENSUS_START = 0
    # Not in the paper: weight w of the haematoxylin stain in m_base, a probability that follows
    # from the concentration of the stain: m_base,k is (1 - w) m_base,k + w P_H in the cell of p_k.
    # Needs VORONOI. StaticSAMLabels keep the masks of SAM as they are.
    cfg.PSEUDO_LABEL.STAIN_WEIGHT = 0.0
    # Not in the paper: of each nucleus in a label its largest connected part, holes filled. The
    # stain speaks for pixels, not for nuclei. Not for StaticSAMLabels.
    cfg.PSEUDO_LABEL.ONE_PART = False
    # Not in the paper: from epoch REPROMPT_START on m_base is prompted with the box of each nucleus
    # as m_adapt and B see it: in place of the box from the spacing with PROMPT.SPACING_BOX, else in
    # addition to the points. Takes a pass of the frozen encoder and decoder in each step, also
    # with SELF_REFINE.BASE_CACHE. Only SelfRefiningLabels, and only while alpha is above 0.
    cfg.PSEUDO_LABEL.REPROMPT = False
    cfg.PSEUDO_LABEL.REPROMPT_START = 0
    # Limits of the domain of m_u,k, none of them in the paper.
    cfg.PSEUDO_LABEL.VORONOI = False  # only the pixels nearest to p_k
    cfg.PSEUDO_LABEL.MAX_RADIUS = 0.0  # x median nearest-neighbour distance; 0: no limit
    cfg.PSEUDO_LABEL.HAEMATOXYLIN = False  # only the Otsu mask of the haematoxylin channel


def _add_refine_keys(cfg: CN) -> None:
    # The blend m_u = alpha m_base + (1 - alpha) m_adapt and when labels are made.
    cfg.SELF_REFINE = CN()
    cfg.SELF_REFINE.REFRESH = "step"  # step: labels in every step | epoch: stored on disk
    cfg.SELF_REFINE.ALPHA_SCHEDULE = "linear"  # linear | constant | exponential | step | static
    cfg.SELF_REFINE.ALPHA_CONSTANT = 0.5
    cfg.SELF_REFINE.ALPHA_GAMMA = 0.5  # exponential: alpha = gamma ** t
    # Folder of the label store for REFRESH: epoch; empty: OUTPUT_DIR/labels.
    cfg.SELF_REFINE.STORE = ""
    # m_base depends on no trained weight. True: computed once per training image, stored, and
    # augmented with it, which spares the frozen encoder and its masks in every step. For REFRESH:
    # step. Random negatives are drawn once, not in each step. Made in windows of the crop's side
    # that share INFERENCE.OVERLAP px. Folder of the masks, which runs of other settings may share;
    # empty: OUTPUT_DIR/base_masks.
    cfg.SELF_REFINE.BASE_CACHE = False
    cfg.SELF_REFINE.BASE_STORE = ""
    # Training crops whose labels are kept at up to ten epochs for tools/report.py; 0: none.
    cfg.SELF_REFINE.HISTORY_CROPS = 2


def _add_input_keys(cfg: CN) -> None:
    cfg.INPUT.NUCLEI = CN()
    cfg.INPUT.NUCLEI.CROP = 224  # px, side of a training crop at native scale
    # An epoch has at least so many: few images are shown more often in each, and what is counted in
    # epochs keeps its place in the training; 0: each pixel about once, however few there are.
    cfg.INPUT.NUCLEI.MIN_CROPS_PER_EPOCH = 0
    # µm/px of the training images; 0: what all of them state in their JSON, else unknown.
    # tools/predict.py brings slides and images of another resolution to it.
    cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL = 0.0
    cfg.INPUT.NUCLEI.SCALE = (0.8, 1.25)  # random resize, uniform
    cfg.INPUT.NUCLEI.SHEAR = 0.3  # affine matrix [1 +- s u, +- s u; +- s u, 1 +- s u]
    cfg.INPUT.NUCLEI.ROTATION = 90.0  # degrees, uniform in [-ROTATION, ROTATION]
    cfg.INPUT.NUCLEI.FLIP = 0.5  # probability of a horizontal flip
    cfg.INPUT.NUCLEI.COLOR = 0.0  # brightness, contrast, saturation factors 1 +- COLOR
    # Point of a mask, for datasets of --register that have no points: centroid | box.
    cfg.INPUT.NUCLEI.CENTRE = "centroid"
    # Shift noise of the annotation (paper: 0 ... 8 px).
    cfg.INPUT.NUCLEI.SHIFT = 0.0  # s, px
    # radius | disk | square | inside (needs masks, to keep points in their nuclei)
    cfg.INPUT.NUCLEI.SHIFT_LAW = "radius"
    cfg.INPUT.NUCLEI.SHIFT_SEED = 0


def _add_output_keys(cfg: CN) -> None:
    # Sliding windows of the prompt-free prediction.
    cfg.INFERENCE = CN()
    cfg.INFERENCE.WINDOW = 224  # px
    cfg.INFERENCE.OVERLAP = 80  # px shared by neighbouring windows
    cfg.INFERENCE.BLEND = "centre"  # centre: centre parts kept | blend: weighted mean
    cfg.INFERENCE.BATCH_SIZE = 4  # windows per forward pass
    # vit_t only, whose attention is local: side in px of what the encoder sees at once, so that the
    # overlaps of windows are encoded once; 0: the window.
    cfg.INFERENCE.TILE = 0
    # Flips and quarter turns that the prediction is averaged over: 1 (none), 2, 4 or 8. As many
    # times the time; not in the paper.
    cfg.INFERENCE.SYMMETRIES = 1
    cfg.INFERENCE.AMP = True  # half precision on a GPU; a CPU predicts in fp32
    # Processes that post-process images while the network is at the next ones (it is then given
    # WORKERS + 1 images at a time); 0: no processes. For a GPU: on a CPU they compete with it.
    cfg.INFERENCE.WORKERS = 0

    # From foreground map and HV maps to instances (HoVer-Net's recipe). The authors' markers (0.5,
    # opened by 5 px) bring true maps back at AJI 0.945 on MoNuSeg val, these at 0.981.
    cfg.POSTPROCESS = CN()
    cfg.POSTPROCESS.FOREGROUND_THRESHOLD = 0.7
    cfg.POSTPROCESS.MIN_OBJECT_AREA = 20  # px^2
    cfg.POSTPROCESS.SOBEL_KERNEL = 21  # px, odd
    cfg.POSTPROCESS.MARKER_THRESHOLD = 0.4
    cfg.POSTPROCESS.MARKER_OPENING = 3  # px, side of the ellipse
    cfg.POSTPROCESS.MIN_MARKER_AREA = 10  # px^2
    # px, odd, of the Gaussian that smooths the energy before the watershed; 1: none
    cfg.POSTPROCESS.SMOOTHING_KERNEL = 3

    cfg.TEST.COCO_AP = True  # run COCOEvaluator beside NucleiEvaluator
    # Heads of Detectron2 that predict masks one by one: those of a lower score are left out of the
    # instance map that AJI and the like are computed from. AP counts them all.
    cfg.TEST.INSTANCE_MAP_SCORE = 0.5


def _add_solver_keys(cfg: CN) -> None:
    # T: all epochs. An epoch shows every training pixel about once (round(H W / CROP^2) crops per
    # image), or more often, by INPUT.NUCLEI.MIN_CROPS_PER_EPOCH. With SOLVER.MAX_ITER = 0 the steps
    # follow from EPOCHS; MAX_ITER > 0 wins.
    cfg.SOLVER.EPOCHS = 100
    cfg.SOLVER.OPTIMIZER = "AdamW"
    # With AMP.ENABLED, on a GPU: float16 | bfloat16, which cannot overflow but has fewer digits.
    cfg.SOLVER.AMP.PRECISION = "float16"
    # Images that may become unreadable during a training; a crop of another one takes the place.
    # A training that goes on may start with so many of them, a new one with none.
    cfg.DATALOADER.MAX_BAD = 0
    # How many periodic checkpoints stay (the best and the last one always do); 0: all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 2
    # Cosine annealing in closed form, stepped per epoch: period 2 * COSINE_T_MAX epochs.
    cfg.SOLVER.COSINE_T_MAX = 20
    cfg.SOLVER.MIN_LR = 1e-7
    # Learning rate of the nuclei head, projection and prototype relative to BASE_LR.
    cfg.SOLVER.HEAD_LR_FACTOR = 1.0
