"""The native store: built where there is a C compiler, left out where there is none."""

from glob import glob

from setuptools import Extension, setup

folder = "src/ebbcache/store/native"
setup(
    ext_modules=[
        Extension(
            "ebbcache.store._store",
            sources=sorted(glob(f"{folder}/*.c")),
            depends=glob(f"{folder}/*.h"),
            optional=True,
        )
    ]
)
