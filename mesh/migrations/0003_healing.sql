-- What the relay remembers of its stream, so that a loss is noticed exactly and little is sent again.
-- `stream_last_id`: the id of the message at `stream_seq`; a stream that was rewound and has grown past it holds another one
-- there. `floors`: up to where each consumer has acknowledged, as last seen. `stream_whole`: false where the stream was healed
-- from a checkpoint, so that a consumer which nobody has seen before misses what lies before it.
ALTER TABLE relay
  ADD COLUMN stream_last_id text NOT NULL DEFAULT '',
  ADD COLUMN floors jsonb NOT NULL DEFAULT '{}' CONSTRAINT relay_floors_form CHECK (jsonb_typeof(floors) = 'object'),
  ADD COLUMN stream_whole boolean NOT NULL DEFAULT true;

-- Everything that `snapshot` sees of its epoch, and every earlier epoch, is on the stream at or below `stream_seq`, or was
-- acknowledged by every consumer before that stream began (ordinal 0). The older, the farther apart they are kept.
CREATE TABLE relay_checkpoint (
  ordinal bigint NOT NULL CONSTRAINT relay_checkpoint_ordinal_not_negative CHECK (ordinal >= 0),
  stream_created text NOT NULL,
  stream_seq bigint NOT NULL,
  epoch integer NOT NULL,
  snapshot pg_snapshot NOT NULL,
  day date NOT NULL,
  CONSTRAINT relay_checkpoint_pkey PRIMARY KEY (ordinal)
);
GRANT SELECT, INSERT, DELETE ON relay_checkpoint TO {service};
GRANT SELECT ON relay_checkpoint TO {batch};
