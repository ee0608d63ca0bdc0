//! What is written about the program and what the program is: the man page and the completions are made of the clap tree,
//! and README and CHANGELOG say nothing else. `BLESS=1 cargo test --test documents` writes the files anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use vaultlock::cli::args::Args;
use vaultlock::store::redis::ACL;

#[test]
fn the_man_page_is_made_of_the_clap_tree() {
    bless_or_compare("man/vaultlock.1", man_page().as_bytes());
}

#[test]
fn the_completions_are_made_of_the_clap_tree() {
    for (shell, file) in [(Shell::Bash, "vaultlock.bash"), (Shell::Zsh, "_vaultlock"), (Shell::Fish, "vaultlock.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "vaultlock", &mut script);
        bless_or_compare(&format!("completions/{file}"), &script);
    }
}

#[test]
fn every_verb_and_every_option_is_in_the_man_page() {
    // Hyphens of options are escaped in roff.
    let page = man_page().replace("\\-", "-");
    let mut tree = Args::command();
    tree.build();
    for verb in tree.get_subcommands() {
        assert!(page.contains(&format!("vaultlock {}", verb.get_name())), "{} is missing", verb.get_name());
        for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
            for long in arg.get_long_and_visible_aliases().unwrap_or_default() {
                assert!(page.contains(&format!("--{long}")), "--{long} of {} is missing", verb.get_name());
            }
        }
    }
}

#[test]
fn the_exit_codes_are_the_same_everywhere() {
    let source = read("src/exit.rs");
    let mut codes: BTreeSet<u8> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Exit::")?.split_once(" => ")?.1.strip_suffix(',')?.parse().ok())
        .collect();
    assert!(codes.remove(&0), "0 is the job's own, and no row");
    assert!(codes.len() >= 6, "src/exit.rs is written otherwise now: {codes:?}");

    let rows = |text: &str, open: &str, close: &str| -> BTreeSet<u8> {
        let cells = text.lines().filter_map(|line| line.strip_prefix(open)?.split_once(close));
        cells.flat_map(|(cell, _)| cell.split(", ").filter_map(|code| code.trim().parse().ok()).collect::<Vec<_>>()).collect()
    };
    assert_eq!(rows(&section(&read("README.md"), "## Exit codes"), "| ", " |"), codes, "README.md");
    let man = section(&read("man/sections.txt"), "# EXIT STATUS");
    let man: BTreeSet<u8> = man.lines().filter_map(|line| line.strip_prefix(": ")?.parse().ok()).collect();
    assert_eq!(man, codes, "man/sections.txt");
    let mut tree = Args::command();
    let help = tree.find_subcommand_mut("run").unwrap().render_long_help().to_string();
    let help = help.split_once("Exit codes:").expect("run --help lists the exit codes").1;
    assert_eq!(rows(help, "  ", "  "), codes, "vaultlock run --help");
}

#[test]
fn the_readme_names_no_option_that_is_not_there() {
    let mut tree = Args::command();
    tree.build();
    let mut known: BTreeSet<String> = tree.get_subcommands().chain([&tree]).flat_map(longs).collect();
    // Of cargo, of tests/bench and tests/bench-crowd, of etcd.
    known.extend(["--release", "--path", "--test", "--rounds", "--only", "--svg", "--initial-cluster-token"].map(str::to_owned));
    // What is not there yet has a section of its own.
    let readme = read("README.md");
    let readme = readme.replace(&section(&readme, "## Not there yet"), "");
    for word in readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        if word.starts_with("--") && word.len() > 2 && !word.starts_with("---") {
            assert!(known.contains(word), "README.md: {word}");
        }
    }
}

#[test]
fn the_readme_has_the_acl_that_the_program_asks_for() {
    let readme = words(&read("README.md").replace('\\', " "));
    assert!(readme.contains(&words(ACL)), "README.md lacks: {ACL}");
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md lacks {heading}");
}

/// The one page: what clap knows of the options, and man/sections.txt for the rest.
fn man_page() -> String {
    let mut tree = Args::command();
    tree = with_aliases_told(tree);
    // Each verb is shown with its own options alone; the first section has the global ones.
    let verbs: Vec<Command> = tree.get_subcommands().cloned().collect();
    let mut hand = Sections::read(&read("man/sections.txt"));
    let man = Man::new(tree.clone()).title("VAULTLOCK").manual("User Commands");
    let mut page = String::from(".\\\" Made by tests/documents.rs: change src/cli/args.rs or man/sections.txt.\n");
    // roff 1.1 writes an empty date as nothing, and what follows would move up.
    page.push_str(&rendered(|out| man.render_title(out)).replacen("VAULTLOCK 1  ", "VAULTLOCK 1 \"\" ", 1));
    let mut name = Roff::new();
    name.control("SH", ["NAME"]).text([roman("vaultlock - run a job under a named lock")]);
    name.control("SH", ["SYNOPSIS"]);
    page.push_str(&name.to_roff());
    for (at, verb) in verbs.iter().enumerate() {
        let verb = verb.clone().bin_name(format!("vaultlock {}", verb.get_name())).disable_help_flag(true);
        let synopsis = rendered(|out| Man::new(verb).render_synopsis_section(out));
        page.push_str(if at > 0 { ".br\n" } else { "" });
        page.push_str(synopsis.strip_prefix(".SH SYNOPSIS\n").expect("a section begins with its heading"));
    }
    page.push_str(&hand.take("DESCRIPTION"));
    page.push_str(&rendered(|out| man.render_options_section(out)).replacen(
        ".SH OPTIONS\n",
        ".SH OPTIONS\nOf every command:\n",
        1,
    ));
    page.push_str(".SH COMMANDS\n");
    for verb in verbs {
        let mut roff = Roff::new();
        roff.control("SS", [format!("vaultlock {}", verb.get_name()).as_str()]);
        roff.text([roman(format!("{}.", verb.get_about().expect("every verb says what it does")))]);
        page.push_str(&roff.to_roff());
        let options = rendered(|out| Man::new(verb.disable_help_flag(true)).render_options_section(out));
        page.push_str(options.strip_prefix(".SH OPTIONS\n").expect("a section begins with its heading"));
    }
    page.push_str(&hand.rest());
    page
}

/// clap_mangen leaves out the other names of an option.
fn with_aliases_told(tree: Command) -> Command {
    tree.mut_subcommands(|verb| {
        verb.mut_args(|arg| {
            let others: Vec<String> =
                arg.get_visible_aliases().unwrap_or_default().iter().map(|alias| format!("--{alias}")).collect();
            match arg.get_help() {
                Some(help) if !others.is_empty() => {
                    let help = format!("{help} (also {})", others.join(", "));
                    arg.help(help)
                }
                _ => arg,
            }
        })
    })
}

fn longs(command: &Command) -> Vec<String> {
    let longs = command.get_arguments().filter_map(Arg::get_long_and_visible_aliases).flatten();
    longs.map(|long| format!("--{long}")).collect()
}

fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    // Each piece brings the same definitions for the apostrophe; the title's are enough.
    match text.split_once("\n.SH ") {
        Some((_, section)) => format!(".SH {section}"),
        None => text,
    }
}

/// The hand-written sections, as roff, in their order.
struct Sections(Vec<(String, String)>);

impl Sections {
    fn read(text: &str) -> Sections {
        let parts = text.split("\n# ").skip(1);
        Sections(
            parts.map(|part| part.split_once('\n').unwrap()).map(|(name, body)| (name.to_owned(), roff(name, body))).collect(),
        )
    }

    fn take(&mut self, name: &str) -> String {
        let at = self.0.iter().position(|(is, _)| is == name).expect("a section of this name");
        self.0.remove(at).1
    }

    fn rest(self) -> String {
        self.0.into_iter().map(|(_, text)| text).collect()
    }
}

fn roff(name: &str, body: &str) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    let mut first = true;
    for paragraph in body.trim_matches('\n').split("\n\n") {
        let lines: Vec<&str> = paragraph.lines().collect();
        if let Some(term) = lines[0].strip_prefix(": ") {
            roff.control("TP", []).text([bold(term)]).text(inlines(&lines[1..]));
        } else if lines[0].starts_with("    ") {
            roff.control("PP", []).control("RS", ["4"]).control("nf", []);
            for line in lines {
                roff.text([roman(line.trim_start())]);
            }
            roff.control("fi", []).control("RE", []);
        } else {
            if !first {
                roff.control("PP", []);
            }
            roff.text(inlines(&lines));
        }
        first = false;
    }
    rendered(|out| roff.to_writer(out))
}

/// What stands between backticks is bold.
fn inlines(lines: &[&str]) -> Vec<Inline> {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    text.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

/// From this heading to the next one of its level.
fn section(text: &str, heading: &str) -> String {
    let level = heading.split(' ').next().unwrap();
    let (_, body) = text.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}"));
    body.split(&format!("\n{level} ")).next().unwrap().to_owned()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn bless_or_compare(file: &str, wanted: &[u8]) {
    let path = root(file);
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, wanted).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_default();
    let same = found == wanted;
    assert!(same, "{file} is not what the command line says now: run BLESS=1 cargo test --test documents and commit it");
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
