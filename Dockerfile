# One image for every role: the command says which (graft api, graft worker, graft sweep, graft migrate).
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 graft && install -d -o graft /data
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY graft graft
COPY service service
COPY workers workers
COPY models models
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps .
USER graft
WORKDIR /data
ENV GRAFT_DATA=/data GRAFT_HOST=0.0.0.0 HF_HOME=/data/hub PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["graft", "up"]
