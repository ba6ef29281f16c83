# What a step may try to be taken for something it is not. BASE is Debian, whose perl makes any system call.
ARG BASE
FROM ${BASE}
COPY --chmod=755 attack.pl old-abi /
ARG VICTIM
RUN perl /attack.pl notes
RUN perl /attack.pl outside "$VICTIM"
RUN perl /attack.pl race "$VICTIM"
RUN perl /attack.pl marks
RUN /old-abi; echo $? > /old-abi.status
