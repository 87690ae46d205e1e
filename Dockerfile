# The gateway's image: built from hash-checked locks, run as nobody in particular, with a root file system that may be read-only.
#
#   docker build --tag tool-gateway .
#   docker build --target egress-lock --tag tool-gateway-egress-lock .    (for deploy/kubernetes)
#
# For a build that is the same byte for byte, pin the bases by digest: python:3.12-slim-bookworm@sha256:…

# Not the slim one: it has the compiler and Python's headers, for the same Python.
FROM python:3.12-bookworm AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements-otel.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/tool-gateway \
    && pip --python /opt/tool-gateway/bin/python install --require-hashes -r requirements-otel.lock \
    && pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY scripts/compiled.py scripts/sbom.py scripts/
# Compiled, which needs the types of what it imports. With the extra `otel`: a platform that sets where spans go sets it for every container.
# The bill of materials is of what was installed, with the lock's hashes: /opt/tool-gateway/sbom.cdx.json (CycloneDX).
RUN PYTHONPATH="$(echo /opt/tool-gateway/lib/python3.*/site-packages)" HATCH_BUILD_HOOKS_ENABLE=1 \
        pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/tool-gateway/bin/python install --no-index --no-deps dist/*.whl \
    && /opt/tool-gateway/bin/python scripts/sbom.py requirements-otel.lock > /opt/tool-gateway/sbom.cdx.json

# Sets a pod's network up and ends; it has to be root for that, with NET_ADMIN alone.
FROM debian:bookworm-slim AS egress-lock
LABEL org.opencontainers.image.title="tool-gateway-egress-lock" org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="0.1.0"
# hadolint ignore=DL3008  # Debian keeps no older version of it: a pin would break the build with the next update
RUN apt-get update && apt-get install --yes --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
COPY --chmod=0755 gateway/cli/manifests/egress-lock/lock.sh /usr/local/bin/egress-lock
ENTRYPOINT ["egress-lock"]

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="tool-gateway" \
    org.opencontainers.image.description="Stands between an AI agent and its tools: allowlists, budgets, retries, a kill switch and a redacted log." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.base.name="python:3.12-slim-bookworm"
# pip is of no use to a gateway, and of some to whoever breaks into one.
RUN pip uninstall --yes --root-user-action=ignore pip \
    && groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/tool-gateway --shell /usr/sbin/nologin gateway \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/tool-gateway
COPY --from=build /opt/tool-gateway /opt/tool-gateway
COPY policies /etc/tool-gateway/policies
ENV PATH=/opt/tool-gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_LISTEN=0.0.0.0:8080 \
    GATEWAY_ADMIN_LISTEN=0.0.0.0:8081 \
    GATEWAY_STATE=sqlite:/var/lib/tool-gateway/gateway.db \
    GATEWAY_POLICY=/etc/tool-gateway/policies
WORKDIR /var/lib/tool-gateway
VOLUME /var/lib/tool-gateway
EXPOSE 8080 8081
# By number, so that a platform can see that it is not root.
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['GATEWAY_ADMIN_LISTEN'].rpartition(':')[2]), timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
# Process 1 itself, without a shell or an init: it handles its signals, waits for the one kind of process that it starts, and starts no other.
ENTRYPOINT ["tool-gateway"]
CMD ["serve"]
