SELECT name FROM $schema.locks l WHERE version > 0 OR EXISTS (SELECT FROM $schema.tickets t WHERE t.lock = l.name) ORDER BY name;
