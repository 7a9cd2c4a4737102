# Squall with the versions of pyproject.toml (tests/test_pins.py compares them).
#   docker build -t squall . && docker run --rm -v "$PWD/data:/data" squall status /data/knmi.icechunk
# To answer requests (docs/serve.md):
#   docker build --build-arg EXTRAS=serve -t squall .
#   docker run --rm -p 8000:8000 -v "$PWD/live:/data/live:ro" squall serve live --host 0.0.0.0
# To train with loader processes: docker run --shm-size=4g …
FROM python:3.12-slim

WORKDIR /opt/squall
# torch by itself first: the largest layer, and the one that changes least
RUN pip install --no-cache-dir torch==2.13.0
COPY pyproject.toml README.md LICENSE THIRD_PARTY.md setup.py MANIFEST.in ./
COPY src src
COPY convgru convgru
COPY datasets datasets
COPY pipeline pipeline
COPY configs configs
# names of extras, with commas: serve,geotiff
ARG EXTRAS=
RUN pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"

# matplotlib, cartopy and PROJ want a home that can be written to, whoever runs the container
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /data
ENTRYPOINT ["squall"]
CMD ["--help"]
