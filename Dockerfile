# The guide, for /guide, by the versions that are tested.
FROM python:3.11-slim AS guide
WORKDIR /guide
COPY requirements-dev.txt mkdocs.yml ./
RUN sed -E 's/ *\\$//; /--hash/d' requirements-dev.txt > versions.txt && pip install --no-cache-dir -c versions.txt mkdocs-material
COPY docs docs
COPY tools/guide_hooks.py tools/
RUN mkdocs build --strict --quiet

# One image for every role: the command says which (graft api, graft worker, graft predictor, graft sweep, graft migrate).
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 graft && install -d -o graft /data
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY graft graft
COPY service service
COPY workers workers
COPY predictor predictor
COPY models models
COPY migrations migrations
COPY --from=guide /guide/service/site service/site
RUN pip install --no-cache-dir --no-deps .
USER graft
WORKDIR /data
ENV GRAFT_DATA=/data GRAFT_HOST=0.0.0.0 HF_HOME=/data/hub PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["graft", "up"]
