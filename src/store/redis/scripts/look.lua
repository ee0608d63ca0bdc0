-- ARGV  5 the asker's id or ''  6 '1' to list all that are ever listed
remember()
return show(answer('view'), ARGV[5], ARGV[6] == '1')
