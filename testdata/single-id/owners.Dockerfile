# Everything that has an owner: BASE is busybox or Debian.
ARG BASE
FROM ${BASE} AS first
RUN touch /a && chown 33:44 /a && chmod 4755 /a && mkdir -p /d/e && chown -R 5:6 /d && ln -s x /l && chown -h 9:10 /l
RUN mknod /null c 1 3 && mknod /block b 8 1 && chmod 660 /block && chown 0:6 /block && mkfifo /fifo && chown 7:8 /fifo
RUN cp -a /a /b; mv /a /c; cp -a /d /d2; cp -a /l /l2; ln /c /c2; chmod 2775 /d; touch /d/inherits; mkdir /d/sub
# To the kernel this file and this link are the base's: a change of owner copies them.
RUN chown 100000:4294967294 /etc/group; ln -s group /etc/link
RUN chown -h 1:2 /etc/link; chown 0:0 /b; touch /e; chown 3:4 /e; chmod 6755 /e; chown 4:4 /e
RUN tar -C / -cf /t.tar b c d fifo null && mkdir /x && tar -C /x -xf /t.tar && rm /t.tar && stat -c '%n %u:%g %a %F %t:%T' /x/*
RUN if command -v install; then install -d -o 12 -g 13 -m 2750 /i && install -o 12 -g 13 -m 640 /etc/passwd /i/p; fi
RUN echo 'app:x:1000:1000::/home/app:/bin/sh' >> /etc/passwd; echo app:x:1000: >> /etc/group; \
    [ ! -e /etc/shadow ] || echo 'app:*:19000:0:99999:7:::' >> /etc/shadow; mkdir -p /home/app && chown app /home/app
USER app
WORKDIR /home/app/w
RUN touch mine; mkdir dir; ln -s mine link; mkfifo f; echo x > dir/y; mkdir -m 2755 s; cp dir/y s/z; \
    (umask 077; touch private); ln -s later dangling; echo x > dangling
RUN test "$(id -u):$(id -g):$(stat -c %u:%g mine)" = 1000:1000:1000:1000 && ! chown 0 mine && ! chown 5 /d && \
    ! mknod dev c 1 3 && chgrp 1000 mine
USER 1000:50
RUN touch grouped; test "$(id -g)" = 50
USER root
RUN su app -c 'test $(id -u) = 1000; touch /home/app/by-su; mkdir /home/app/su-dir; (cd /home/app; sh -c "sleep 0.1; touch orphan" & )'; \
    sleep 0.3
COPY --chown=50:60 Dockerfile /copied
COPY --chown=app Dockerfile /home/app/by-copy/
RUN chown -R 70:80 /home/app/w; rm -rf /d2; chown 1:1 /etc
FROM ${BASE}
COPY --from=first --exclude=usr --exclude=var --exclude=lib --exclude=bin / /all
COPY --from=first /home/app /app
RUN --mount=type=bind,from=first,target=/m stat -c '%n %u:%g %a' /m/c /m/d /m/l > /seen
RUN --mount=type=secret,id=s,uid=5,gid=6,mode=0440 stat -c '%n %u:%g %a' /run/secrets/s >> /seen
RUN --mount=type=cache,target=/cc,uid=5,gid=6 stat -c '%n %u:%g %a' /cc >> /seen; touch /cc/x; chown 9:9 /cc/x; \
    stat -c '%n %u:%g %a' /cc/x >> /seen
