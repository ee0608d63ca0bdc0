SELECT FROM $schema.tickets WHERE lock = $lock AND id = ANY ($touched) ORDER BY id FOR UPDATE;
