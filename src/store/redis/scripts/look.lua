-- ARGV  5 the asker's id or ''
remember()
return show(answer('view'), ARGV[5])
