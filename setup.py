"""Package metadata and dependencies.

Detectron2 is not listed, because it cannot be had from PyPI under its own name:
``tools/install.py`` looks for an installed one and knows where else to get it.
"""

from setuptools import find_packages, setup

REQUIREMENTS = [
    # Up to 2.9.1 a file of weights can run code or corrupt memory despite weights_only
    # (CVE-2025-32434, CVE-2026-24747).
    "torch>=2.10,<3",
    "torchvision>=0.25,<1",
    "numpy>=1.26,<3",
    "scipy>=1.11,<2",
    "scikit-image>=0.22,<1",
    "opencv-python-headless>=4.8,<6",
    "shapely>=2.1,<3",
    "Pillow>=10",
    "tifffile>=2023.7",
    "defusedxml>=0.7,<1",
    "matplotlib>=3.8,<4",
    "tqdm>=4.65,<5",
    "filelock>=3.12",
    # Image encoders and SAM's prompt encoder and mask decoder.
    "timm>=1.0,<2",
    "segment-anything==1.0",
    "onnx>=1.15,<2",
    # What Detectron2 imports, with its own bounds; its model zoo needs pkg_resources, which
    # setuptools 82 no longer has.
    "fvcore>=0.1.5.post20221221,<0.2",
    "iopath>=0.1.9,<0.2",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1,<2",
    "yacs>=0.1.8,<0.2",
    "PyYAML>=6,<7",
    "pycocotools>=2.0.7,<3",
    "faster-coco-eval>=1.7,<2",
    "tabulate>=0.9,<1",
    "cloudpickle>=2.2,<4",
    "tensorboard>=2.12,<3",
    "termcolor>=1.1",
    "packaging>=23",
    "setuptools>=77,<82",
]

PARQUET_REQUIREMENTS = ["pyarrow>=17"]
APP_REQUIREMENTS = ["gradio>=6,<7"]

# tiffslide brings zarr and the tifffile that goes with it; imagecodecs decodes JPEG 2000.
SLIDES_REQUIREMENTS = ["tiffslide>=2.4", "imagecodecs>=2023.7"]

# For the formats that tiffslide does not read.
OPENSLIDE_REQUIREMENTS = ["openslide-python>=1.3", "openslide-bin>=4.0.1"]

RAY_REQUIREMENTS = ["ray>=2.9,<3"]

TEST_REQUIREMENTS = [
    *PARQUET_REQUIREMENTS,
    *APP_REQUIREMENTS,
    # Pages are looked at in a browser, where there is a Chromium.
    "selenium>=4.20,<5",
    *SLIDES_REQUIREMENTS,
    *OPENSLIDE_REQUIREMENTS,
    *RAY_REQUIREMENTS,
    "pytest>=8",
    "hypothesis>=6.90,<7",
    # GeoJSON is held against a schema.
    "jsonschema>=4.18,<5",
    "onnxruntime>=1.17,<2",
    # The notebook of docs/ is executed.
    "nbclient>=0.10",
    "nbformat>=5.10,<6",
    "ipykernel>=6.29",
]

DEVELOPMENT_REQUIREMENTS = [
    "ruff>=0.9,<1",
    "mypy>=1.14,<3",
    # Which lines the tests run, and which changes of the code they see.
    "coverage>=7.10,<8",
    "mutmut>=3.8,<4",
    # Damaged files that are led by what the reader's code does; wheels alone, nothing is compiled.
    'atheris>=3,<4; python_version>="3.11" and python_version<"3.14" and '
    'sys_platform=="linux" and platform_machine=="x86_64"',
]

setup(
    name="selfsam_d2",
    version="0.1.0.dev0",
    description="Nuclei segmentation from point annotations: self-refining SAM for Detectron2",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # The folder of the shipped models lies beside the package and is installed inside it.
    packages=[*find_packages(include=["selfsam_d2", "selfsam_d2.*"]), "selfsam_d2.model_zoo"],
    package_dir={"selfsam_d2.model_zoo": "model_zoo"},
    package_data={"selfsam_d2": ["py.typed"], "selfsam_d2.model_zoo": ["*.pth", "*.md"]},
    install_requires=REQUIREMENTS,
    extras_require={
        "app": APP_REQUIREMENTS,
        "parquet": PARQUET_REQUIREMENTS,
        "slides": SLIDES_REQUIREMENTS,
        "openslide": OPENSLIDE_REQUIREMENTS,
        "ray": RAY_REQUIREMENTS,
        "test": TEST_REQUIREMENTS,
        "dev": TEST_REQUIREMENTS + DEVELOPMENT_REQUIREMENTS,
    },
)
