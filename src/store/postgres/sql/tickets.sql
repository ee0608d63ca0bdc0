SELECT id, ticket, seq::text, place::text, taken::text, holds::text, beats::text, beaten::text, seal FROM $schema.tickets
WHERE lock = $lock AND (holds OR id = $id OR id IN (
    SELECT id FROM $schema.tickets WHERE lock = $lock AND NOT holds ORDER BY place, seq LIMIT $listed))
ORDER BY holds DESC, place, seq;
