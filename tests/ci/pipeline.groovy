// Calls a step of a shared library as a Pipeline does: `groovy pipeline.groovy STEP.groovy FOLDER` with a list of calls'
// arguments on stdin as JSON. The steps that it needs in turn really do what Jenkins' do; the others aren't there.

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration

abstract class Pipeline extends Script {
    // Fields, which a script's variables don't hide.
    private File workspace
    private File temporary

    Pipeline within(String folder) {
        this.@workspace = new File(folder, 'workspace')
        this.@temporary = new File(folder, 'workspace@tmp')
        return this
    }

    String pwd(Map asked) {
        assert asked == [tmp: true]
        temporary.mkdirs()
        return temporary.path
    }

    void writeFile(Map asked) {
        assert ['file', 'text'].containsAll(asked.keySet())
        new File(asked.file.toString()).setText(asked.text.toString(), 'UTF-8')
    }

    void error(String message) {
        throw new RuntimeException(message)
    }

    // As the durable-task plugin: a file, by its interpreter where it names one, else by `sh -xe`.
    Object sh(Map asked) {
        assert ['script', 'label', 'encoding', 'returnStatus', 'returnStdout'].containsAll(asked.keySet())
        File file = File.createTempFile('durable', '.sh', temporary)
        file.setText(asked.script.toString(), 'UTF-8')
        file.setExecutable(true)
        boolean hasInterpreter = asked.script.toString().startsWith('#!')
        List command = hasInterpreter ? [file.path] : ['sh', '-xe', file.path]
        def builder = new ProcessBuilder(command).directory(workspace).redirectError(ProcessBuilder.Redirect.INHERIT)
        if (!asked.returnStdout) {
            builder.redirectOutput(ProcessBuilder.Redirect.INHERIT)
        }
        Process process = builder.start()
        process.outputStream.close()
        String output = process.inputStream.getText('UTF-8')
        int status = process.waitFor()
        if (asked.returnStatus) {
            return status
        }
        if (status != 0) {
            error("script returned exit code ${status}")
        }
        return asked.returnStdout ? output : null
    }
}

def configuration = new CompilerConfiguration(scriptBaseClass: Pipeline.name)
def shell = new GroovyShell(getClass().classLoader, new Binding(), configuration)
def step = shell.parse(new File(args[0])).within(args[1])
def results = new JsonSlurper().parse(System.in).collect { asked ->
    try {
        return [returned: step.call(asked)]
    } catch (RuntimeException error) {
        return [failed: error.message]
    }
}
println('\n' + JsonOutput.toJson(results))
